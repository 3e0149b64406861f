-- What metrics are made of: x of each, and y, which is a ratio's denominator or the covariate. Those
-- that are made of the same outcomes share a span.
SELECT *
FROM (VALUES {parts}) AS v (span, metric, part, outcome, aggregate, cap, begin_us, end_us, window_us)
