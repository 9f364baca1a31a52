-- Lets a worker process take no more tasks, from its next beat on, and interrupts those that it runs, which go on
-- elsewhere. It lives on until it is stopped. Answers draining, already_draining, not_found.
create function perdure.drain_worker(id bigint) returns text
    language plpgsql security definer set search_path = pg_catalog, perdure, pg_temp as $$
#variable_conflict use_column
begin
    update perdure.workers as w set draining = true where w.id = drain_worker.id and not w.draining;
    if not found then
        return case when exists (select from perdure.workers as w where w.id = drain_worker.id)
            then 'already_draining' else 'not_found' end;
    end if;
    insert into perdure.audit (action, details) values ('drain_worker', jsonb_build_object('worker', drain_worker.id));
    perform pg_notify(perdure.channel() || '_mail', '');
    return 'draining';
end $$;
