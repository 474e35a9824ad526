-- The billable calls with their price: what rollups, tiles and `calls` share.
CREATE VIEW lake.priced AS
{priced_calls}
