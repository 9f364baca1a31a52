-- Saves execution metadata, progress, or the mere start of several runs; false where the lease has
-- been lost. The fence is inside the function, in the statement that locks.
select m.n, perdure.save(
    (m.save ->> 'lease')::uuid, (m.save ->> 'task')::bigint, (m.save ->> 'attempt')::integer,
    (m.save ->> 'started_at')::double precision, nullif(m.save -> 'saved', 'null'),
    (m.save ->> 'explicit')::boolean, nullif(m.save -> 'progress', 'null'))
from jsonb_array_elements(%(saves)s::jsonb) with ordinality as m (save, n)
