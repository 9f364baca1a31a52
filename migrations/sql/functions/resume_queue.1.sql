-- Lets a queue be claimed again and wakes the workers; answers resumed or not_paused.
create function perdure.resume_queue(name text) returns text
    language plpgsql security definer set search_path = pg_catalog, perdure, pg_temp as $$
#variable_conflict use_column
begin
    perform perdure.check_queue(resume_queue.name);
    update perdure.queues as q set paused_at = null, stop_running = false
    where q.name = resume_queue.name and q.paused_at is not null;
    if not found then
        return 'not_paused';
    end if;
    insert into perdure.audit (action, details) values ('resume_queue', jsonb_build_object('queue', resume_queue.name));
    perform pg_notify(perdure.channel() || '_mail', '');
    return 'resumed';
end $$;
