-- Tells workers that listen that there is a schedule to look at; others hear of it with their next beat.
create function perdure.wake_schedules() returns void
    language plpgsql set search_path = pg_catalog, perdure, pg_temp as $$
begin
    perform pg_notify(perdure.channel() || '_mail', '');
end $$;
