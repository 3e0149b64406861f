-- What metrics are made of: x of each, and y, which is a ratio's denominator or the covariate.
SELECT *
FROM (VALUES {parts}) AS v (no, metric, part, outcome, aggregate, cap, begin_us, end_us, window_us)
