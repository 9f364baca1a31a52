-- Whether a login, else the session's, may see a task of that producer: its own, a role's that it is a
-- member of, or any task for workers, operators and the owner. Identity is session_user: inside a
-- definer function current_user is the owner. A login that is gone sees only what was its own.
create function perdure.sees(producer text, viewer text default session_user) returns boolean
    language sql stable set search_path = pg_catalog, perdure, pg_temp as $$
    select producer = viewer
        or exists (select from perdure.access where login = viewer and role in ('worker', 'operator'))
        or exists (
            select from pg_roles as v where v.rolname = viewer and (
                pg_has_role(v.oid, (select relowner from pg_class where oid = 'tasks'::regclass), 'member')
                or exists (select from pg_roles as r where r.rolname = producer and pg_has_role(v.oid, r.oid, 'member'))))
$$;
