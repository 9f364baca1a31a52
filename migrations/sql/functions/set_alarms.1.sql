-- Sets the alarms of a task as its row says now: after its times were changed, or it lives again.
create function perdure.set_alarms(task bigint) returns void
    language plpgsql set search_path = pg_catalog, perdure, pg_temp as $$
declare
    next_at timestamptz;
begin
    delete from perdure.alarms where task_id = task;
    with made as (
        insert into perdure.alarms (task_id, at, kind)
        select t.id, a.at, a.kind
        from perdure.tasks as t cross join lateral (values ('expire', t.expires_at), ('deadline', t.deadline_at)) as a (kind, at)
        where t.id = task and a.at is not null
        returning at)
    select min(m.at) into next_at from made as m;
    if next_at is not null then
        perform perdure.wake_at(next_at);
    end if;
end $$;
