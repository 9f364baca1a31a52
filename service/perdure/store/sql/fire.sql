-- Carries out what was decided of the schedules of one look: see the function.
select f.key, f.fire_at, f.fate, f.instants, f.task_id,
    extract(epoch from clock_timestamp() - f.fire_at)::double precision
from perdure.fire(%(turns)s::jsonb) as f
