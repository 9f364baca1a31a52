-- Ends a session of a worker whose statement was never answered, and waits until it is gone. Only one
-- that is a worker's or of its pool (it says so in its name) and of the caller's own login; anything else
-- is PD003.
create function perdure.end_session(session_pid integer) returns boolean
    language plpgsql set search_path = pg_catalog, perdure, pg_temp as $$
begin
    perform from pg_stat_activity as a where a.pid = session_pid;
    if not found then
        return true;
    end if;
    perform from pg_stat_activity as a
    where a.pid = session_pid and a.usename = session_user and a.application_name ~ '^perdure( |$)';
    if not found then
        perform perdure.refuse('PD003|that session is no worker''s of this login|name a session called perdure, or perdure claim, flush or beat');
    end if;
    return pg_terminate_backend(session_pid, 5000);
end $$;
