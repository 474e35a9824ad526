-- The billable calls with the price that was believed when they were made: rates and aliases as known at that moment.
CREATE VIEW lake.priced_believed AS
{priced_believed}
