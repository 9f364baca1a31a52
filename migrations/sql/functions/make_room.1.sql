-- What a limit does with those who came while it was full: skip ends them; cancel_previous cancels the
-- oldest of the key, so that as many of the newest stay as may run. Only on account of tasks that have not
-- run yet: who comes back from a run waits for its turn. Answers whether there may be more to do.
create function perdure.make_room(instance_key text, most integer, when_full text) returns boolean
    language plpgsql set search_path = pg_catalog, perdure, pg_temp as $$
declare
    fresh bigint[];
    one bigint;
begin
    fresh := array(
        select w.task_id from perdure.waiting as w
        where w.instance_key between make_room.instance_key and make_room.instance_key
            and (select p.attempt from perdure.progress as p where p.task_id = w.task_id and p.attempt > 0) is null
        order by w.instance_key desc, w.task_id desc limit 1000 for update of w skip locked);
    if when_full = 'skip' then
        delete from perdure.waiting where task_id = any (fresh);
        for one in select i from unnest(fresh) as i order by i loop
            perform perdure.finish_unrun(one, 'cancelled', 'skipped');
        end loop;
    elsif fresh <> '{}' then
        for one in
            select l.id from (
                select l.id from (
                    select i.task_id as id from perdure.instances as i where i.key = make_room.instance_key
                    union all
                    select w.task_id from perdure.waiting as w
                    where w.instance_key between make_room.instance_key and make_room.instance_key) as l
                order by l.id desc offset most limit 1000) as l
            where l.id < fresh[1] order by l.id
        loop
            perform perdure.withdraw(one, 'replaced');
        end loop;
    end if;
    return cardinality(fresh) = 1000;
end $$;
