-- How often outcomes came, and how many contradict each other.
SELECT COUNT(*) AS ids, COALESCE(SUM(copies), 0) AS rows_read, COALESCE(SUM(copies - 1), 0) AS duplicates,
       COALESCE(SUM(CASE WHEN agrees THEN 0 ELSE 1 END), 0) AS quarantined
FROM contents
