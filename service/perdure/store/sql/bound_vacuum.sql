-- Bounds the statements of this session, if its login may vacuum: no row, and no bound, where the tables are not its
-- own. VACUUM cannot be in a transaction, so that SET LOCAL would not reach it; `unbound` takes it back.
select set_config('statement_timeout', %(milliseconds)s::text, false)
from pg_catalog.pg_class as c
where c.oid = 'perdure.ready'::regclass and pg_catalog.pg_has_role(c.relowner, 'USAGE')
