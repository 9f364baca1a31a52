-- Whether the session's login may see a task of that producer: its own, a role's that it is a member
-- of, or any task for workers, operators and the owner. Identity is session_user: inside a definer
-- function current_user is the owner.
create function perdure.sees(producer text) returns boolean
    language sql stable set search_path = pg_catalog, perdure, pg_temp as $$
    select producer = session_user
        or exists (select from perdure.access where login = session_user and role in ('worker', 'operator'))
        or pg_has_role(session_user, (select relowner from pg_class where oid = 'tasks'::regclass), 'member')
        or exists (select from pg_roles where rolname = producer and pg_has_role(session_user, oid, 'member'))
$$;
