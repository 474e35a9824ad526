-- The currencies in which cost can be shown.
SELECT DISTINCT currency
FROM exchange_rates
ORDER BY currency
