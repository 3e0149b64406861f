-- Each unit's numbers: x of a metric, and y, which is a ratio's denominator or the covariate. Only units whose windows have
-- closed have any. One that did nothing is not in here, and is 0.
WITH spans AS (
    SELECT DISTINCT span, outcome, begin_us, end_us, window_us
    FROM parts
),
matched AS (
    SELECT p.span, u.id, k.value
    FROM units AS u
    JOIN known AS k ON k.unit = u.unit AND k.unit_key_id = u.unit_key_id
    JOIN spans AS p ON p.outcome = k.name
    WHERE u.counts
      AND EPOCH_US(u.exposed) + p.window_us <= EPOCH_US({as_of})
      AND EPOCH_US(k.ts) >= EPOCH_US(u.exposed) + p.begin_us
      AND EPOCH_US(k.ts) < EPOCH_US(u.exposed) + p.end_us
),
-- A sum of floating-point numbers depends on their order. So a unit's are summed as whole numbers, of which 2^60 are its largest.
scales AS (
    SELECT span, id, POWER(2, CEIL(LOG2(MAX(ABS(value)) + 1e-300))) AS scale
    FROM matched
    GROUP BY span, id
),
sums AS (
    SELECT m.span, m.id, COUNT(*) AS n, MAX(m.value) AS highest, MIN(m.value) AS lowest, {total_of_value} * MIN(s.scale) AS total
    FROM matched AS m
    JOIN scales AS s ON s.span = m.span AND s.id = m.id
    GROUP BY m.span, m.id
),
each_part AS (
    SELECT p.metric, p.part, s.id,
           LEAST(COALESCE(p.cap, CAST('Infinity' AS DOUBLE)),
                 CASE p.aggregate WHEN 'any' THEN 1.0
                                  WHEN 'count' THEN CAST(s.n AS DOUBLE)
                                  WHEN 'sum' THEN s.total
                                  WHEN 'max' THEN s.highest
                                  ELSE s.lowest END) AS number
    FROM sums AS s
    JOIN parts AS p ON p.span = s.span
)
SELECT metric, id,
       COALESCE(MAX(CASE WHEN part = 'x' THEN number END), 0.0) AS x,
       COALESCE(MAX(CASE WHEN part = 'y' THEN number END), 0.0) AS y
FROM each_part
GROUP BY metric, id
