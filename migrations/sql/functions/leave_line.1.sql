-- Lets those behind a task in the line of a unique key wait from here on for the one before it, which lives:
-- the task ends without a run. Their count of blockers stays, so that no row of a place has to be locked. Others
-- may leave the line just now, and hand their places on: all edges are locked first, until none is new.
create function perdure.leave_line(task bigint) returns void
    language plpgsql set search_path = pg_catalog, perdure, pg_temp as $$
declare
    behind bigint[];
begin
    perform from perdure.edges as e where e.task_id = task and e.kind <> 'after' order by e.after_id for update;
    if not found then
        return;
    end if;
    loop
        behind := array(
            select f.task_id from perdure.edges as f
            where f.after_id = task and f.kind <> 'after' order by f.task_id for update);
        exit when behind = array(
            select f.task_id from perdure.edges as f where f.after_id = task and f.kind <> 'after' order by f.task_id);
    end loop;
    update perdure.edges as f set after_id = e.after_id
    from perdure.edges as e
    where f.after_id = task and f.kind <> 'after' and f.rule = 'run' and e.task_id = task and e.kind <> 'after'
        and not exists (select from perdure.edges as d where d.task_id = f.task_id and d.after_id = e.after_id);
    -- Who follows the task in a chain, too, ends for it, and hands on what it gets here; whose chain has led past
    -- the task already stands there in the line as well, from now on.
    insert into perdure.edges as d (task_id, after_id, rule, kind)
    select f.task_id, e.after_id, 'run', f.kind
    from perdure.edges as f cross join perdure.edges as e
    where f.after_id = task and f.kind <> 'after' and e.task_id = task and e.kind <> 'after'
    on conflict (task_id, after_id) do update set kind = excluded.kind where d.kind = 'after';
end $$;
