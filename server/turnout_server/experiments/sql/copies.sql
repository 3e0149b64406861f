-- How often outcomes came, and how many contradict each other.
SELECT COUNT(*) AS ids, COALESCE(SUM(copies), 0) AS rows_read, COALESCE(SUM(copies - 1), 0) AS duplicates,
       COALESCE(SUM(CASE WHEN contents > 1 THEN 1 ELSE 0 END), 0) AS quarantined
FROM (SELECT outcome_id, COUNT(*) AS contents, SUM(copies) AS copies FROM contents GROUP BY outcome_id) AS ids
