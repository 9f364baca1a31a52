-- What the tasks that one follows have come to, as JSON texts: see the function.
select i.task_id, i.name, i.label, i.state, i.result::text, i.error::text
from perdure.inputs(%(task)s::bigint) as i
