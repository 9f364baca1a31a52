-- Stops claims of a queue ('*': of all) from each worker's next beat on; stop_running also interrupts
-- what runs. Answers paused or already_paused. May come before the queue was ever used.
create function perdure.pause_queue(name text, stop_running boolean default false) returns text
    language plpgsql security definer set search_path = pg_catalog, perdure, pg_temp as $$
#variable_conflict use_column
declare
    since timestamptz;
    stop boolean := coalesce(pause_queue.stop_running, false);
begin
    perform perdure.check_queue(pause_queue.name);
    insert into perdure.queues (name) values (pause_queue.name) on conflict (name) do nothing;
    select q.paused_at into since from perdure.queues as q where q.name = pause_queue.name for update;
    update perdure.queues as q
    set paused_at = coalesce(q.paused_at, clock_timestamp()), stop_running = stop
    where q.name = pause_queue.name;
    insert into perdure.audit (action, details)
    values ('pause_queue', jsonb_build_object('queue', pause_queue.name, 'stop_running', stop));
    perform pg_notify(perdure.channel() || '_mail', '');
    return case when since is null then 'paused' else 'already_paused' end;
end $$;
