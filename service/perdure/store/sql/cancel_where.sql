-- Cancels all that match, or only counts them: see the function.
select c.cancelled, c.requested
from perdure.cancel_where(
    %(name)s::text, %(state)s::text, %(tag)s::text, %(unique_key)s::text, %(queue)s::text, %(dry_run)s::boolean) as c
