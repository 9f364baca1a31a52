-- The gated wake-up: NOTIFY takes a lock of the whole server at commit, so it is sent only for a
-- queue whose idle enqueuer has said that it waits. Only reads queues.awaited: no row is locked.
-- Lane 0 tells the beat instead, which lets promotion make the missing lane.
create function perdure.wake(into_lanes integer[]) returns void
    language plpgsql set search_path = pg_catalog, perdure, pg_temp as $$
declare
    waiting_queues text[];
begin
    select array_agg(name) into waiting_queues
    from perdure.queues where awaited > (select clock_timestamp());
    if waiting_queues is null then
        return;
    end if;
    if exists (select from perdure.lanes where id = any (into_lanes) and id <> 0 and queue = any (waiting_queues)) then
        perform pg_notify(perdure.channel(), '');
    end if;
    if 0 = any (into_lanes) then
        perform pg_notify(perdure.channel() || '_mail', '');
    end if;
end $$;
