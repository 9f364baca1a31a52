-- How a task stands and what it left, as JSON text: what waits for a result asks this again and again.
select t.state, t.result::text, t.error::text from perdure.task(%(id)s::bigint) as t
