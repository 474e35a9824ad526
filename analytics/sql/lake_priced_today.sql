-- The billable calls as they would cost at the prices that hold when the snapshot was published.
CREATE VIEW lake.priced_today AS
{priced_today}
