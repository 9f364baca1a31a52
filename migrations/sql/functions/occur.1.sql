-- Makes the task of one instant of a schedule whose row the caller has locked, as its overlap allows:
-- fired, queued (behind those that live) or skipped. nominal null: an extra one, by hand. It waits for no
-- lock: an earlier occurrence that somebody holds gets a letter, and the new one waits for its end. Who
-- queues does so behind all that live: behind the last of each line, and, where that is about to end without
-- a run in somebody's transaction, which cannot hand its place on to a row that it does not see, behind who
-- comes before it. line: those that live where the caller knows them, and has just made the last to wait for all.
create function perdure.occur(key text, nominal timestamptz, forced boolean default false, line bigint[] default null)
    returns table (answer text, task_id bigint)
    language plpgsql set search_path = pg_catalog, perdure, pg_temp as $$
#variable_conflict use_column
declare
    rule record;
    alive bigint[];
    one bigint;
    after bigint[] := '{}';
    waiting bigint[];
    awaited bigint[];
    at integer := 0;
begin
    select s.overlap, s.max_catch_up, s.oldest_live into rule from perdure.schedules as s where s.key = occur.key;
    alive := case when rule.overlap = 'allow' or forced then '{}'
        else coalesce(line, array(select perdure.live_occurrences(occur.key, rule.oldest_live))) end;
    answer := 'fired';
    if alive <> '{}' then
        if rule.overlap = 'skip' or rule.overlap = 'queue' and cardinality(alive) > rule.max_catch_up then
            answer := 'skipped';
            return next;
            return;
        elsif rule.overlap = 'queue' and line is not null then
            answer := 'queued';
            after := alive[cardinality(alive):];
        elsif rule.overlap = 'queue' then
            answer := 'queued';
            select coalesce(array_agg(e.task_id), '{}'), coalesce(array_agg(e.after_id), '{}') into waiting, awaited
            from unnest(alive) as i cross join lateral (
                select e.task_id, e.after_id from perdure.edges as e where e.task_id = i and e.kind <> 'after' offset 0) as e;
            after := array(select i from unnest(alive) as i except select a from unnest(awaited) as a order by 1);
            while at < cardinality(after) loop
                at := at + 1;
                if not perdure.at_hand(after[at]) then
                    after := after || array(
                        select e.after_id from unnest(waiting, awaited) as e (task_id, after_id)
                        where e.task_id = after[at] and e.after_id <> all (after));
                end if;
            end loop;
        else
            foreach one in array alive loop
                if not perdure.at_hand(one) then
                    insert into perdure.mail (task_id, kind)
                    select one, 'replaced'
                    where not exists (select from perdure.mail where task_id = one and kind in ('cancel', 'replaced'));
                    after := after || one;
                elsif perdure.withdraw(one, 'replaced') = 'requested' then
                    after := after || one;
                end if;
            end loop;
        end if;
    end if;
    task_id := nextval('tasks_id_seq');
    insert into perdure.edges (task_id, after_id, rule, kind)
    select occur.task_id, a, 'run', case rule.overlap when 'queue' then 'serial' else 'replaces' end from unnest(after) as a;
    insert into perdure.mail (task_id, kind) select a, 'follower' from unnest(after) as a;
    insert into perdure.tasks (id, name, metadata, queue, priority, tags, requires, headers, max_retries, expires_at,
        schedule_key, fire_at, enqueued_by)
    select occur.task_id, s.name, s.metadata, s.queue, s.priority, s.tags, s.requires, s.headers, s.max_retries,
        nominal + s.expires_after, s.key, nominal, s.put_by
    from perdure.schedules as s where s.key = occur.key;
    -- One that has ended meanwhile is told of by nobody else.
    foreach one in array after loop
        if exists (select from perdure.outcomes as o where o.task_id = one) then
            perform perdure.unblock(one);
        end if;
    end loop;
    return next;
end $$;
