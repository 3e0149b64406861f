-- What statistics need, and nothing of a unit: one row for each metric, epoch, day of the first exposure, and arm.
WITH tops AS (
    SELECT metric, POWER(2, CEIL(LOG2(MAX(ABS(x)) + 1e-300))) AS top_x, POWER(2, CEIL(LOG2(MAX(ABS(y)) + 1e-300))) AS top_y
    FROM numbers
    GROUP BY metric
),
scaled AS (
    SELECT n.metric, u.epoch, CAST(u.exposed AS DATE) AS day, u.arm, t.top_x, t.top_y, n.x / t.top_x AS x, n.y / t.top_y AS y
    FROM numbers AS n
    JOIN units AS u ON u.id = n.id
    JOIN tops AS t ON t.metric = n.metric
),
totals AS (
    SELECT metric, epoch, day, arm,
           {total_of_x} * MIN(top_x) AS total_x,
           {total_of_xx} * MIN(top_x) * MIN(top_x) AS squares_x,
           {total_of_y} * MIN(top_y) AS total_y,
           {total_of_yy} * MIN(top_y) * MIN(top_y) AS squares_y,
           {total_of_xy} * MIN(top_x) * MIN(top_y) AS products
    FROM scaled
    GROUP BY metric, epoch, day, arm
),
sizes AS (
    SELECT w.window_us, u.epoch, CAST(u.exposed AS DATE) AS day, u.arm, COUNT(*) AS units
    FROM units AS u
    CROSS JOIN (SELECT DISTINCT window_us FROM parts) AS w
    WHERE u.counts
      AND EPOCH_US(u.exposed) + w.window_us <= EPOCH_US({as_of})
    GROUP BY w.window_us, u.epoch, CAST(u.exposed AS DATE), u.arm
)
SELECT m.metric, s.epoch, s.day, s.arm, s.units,
       COALESCE(t.total_x, 0.0) AS total_x, COALESCE(t.squares_x, 0.0) AS squares_x,
       COALESCE(t.total_y, 0.0) AS total_y, COALESCE(t.squares_y, 0.0) AS squares_y,
       COALESCE(t.products, 0.0) AS products
FROM sizes AS s
JOIN (SELECT DISTINCT metric, window_us FROM parts) AS m ON m.window_us = s.window_us
LEFT JOIN totals AS t ON t.metric = m.metric AND t.epoch = s.epoch AND t.day = s.day AND t.arm = s.arm
ORDER BY m.metric, s.epoch, s.day, s.arm
