-- A report over many flags: a flag that may not be used loses its rows, every other flag keeps them.
-- `metrics` stands for a table of your own with flag_key and hour; examples/dbt has the same as a dbt model.
-- Where flags of several environments share a key, join on it too.
SELECT metrics.*
FROM metrics
JOIN (
    SELECT *, max(iteration_start) OVER (PARTITION BY namespace, environment, flag_key) AS newest_iteration
    FROM flag_trust
) AS standing USING (flag_key)
WHERE standing.iteration_start = standing.newest_iteration
  AND standing.trusted                                                   -- null means not checked
  AND (standing.waived_until IS NULL OR standing.waived_until > now())   -- a waiver that has ended is none
  AND metrics.hour >= standing.iteration_start                           -- not before units were assigned afresh
  AND metrics.hour < standing.audited_through                            -- no hour that nobody has audited
