-- The exchange rates of $currency that count for the range.
SELECT currency, day, usd
FROM exchange_rates
WHERE currency = $currency AND from_day <= $last_date::DATE AND until_day > $first_date::DATE
ORDER BY day
