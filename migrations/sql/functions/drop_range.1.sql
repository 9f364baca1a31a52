-- Drops one whole range of ids whose tasks have ended long enough ago: 5 MB of WAL per million rows
-- instead of 429 for deletes. What must stay (not ended, inside its own retention, followed, holding a key) is copied
-- into the default partition first, in the same transaction; a range with more of that than the bound
-- waits. Answers the number of the range, or null.
create function perdure.drop_range(completed interval, failed interval, cancelled interval, keep_most integer)
    returns bigint
    language plpgsql security definer set search_path = pg_catalog, perdure, pg_temp as $$
declare
    schema text := (current_schemas(false))[2];
    number bigint;
    newest timestamptz;
    kept bigint;
    stays constant text := $q$
        select t.id from %1$I.tasks_%2$s as t left join %1$I.outcomes_%2$s as o on o.task_id = t.id
        left join %1$I.task_types as y on y.name = t.name
        where o.task_id is null or o.finished_at >= (select clock_timestamp())
            - coalesce(y.keep_results, case o.state when 'completed' then $1 when 'failed' then $2 else $3 end)
            or exists (select from %1$I.edges as e where e.after_id = t.id)
            or exists (
                select from %1$I.inputs as i where i.after_id = t.id
                    and not exists (select from %1$I.outcomes as f where f.task_id = i.task_id))
            or t.unique_key is not null and exists (
                select from %1$I.unique_keys as k
                where k.key = t.unique_key and k.task_id = t.id and o.finished_at > (select clock_timestamp()) - k.held_for) $q$;
begin
    set local lock_timeout = '500ms';
    -- Ranges are made and dropped by one at a time: what a second has seen may be gone when it comes to it.
    perform from perdure.settings as s where s.key = 'range_began_at' for update;
    for number in
        select substr(c.relname, 7)::bigint
        from pg_inherits as i join pg_class as c on c.oid = i.inhrelid
        where i.inhparent = 'tasks'::regclass and c.relname ~ '^tasks_[0-9]+$'
            and (substr(c.relname, 7)::bigint + 1) * 100000000 <= (select last_value from tasks_id_seq)
        order by 1
    loop
        execute format('select created_at from %1$I.tasks_%2$s order by id desc limit 1', schema, number) into newest;
        continue when newest >= clock_timestamp() - least(completed, failed, cancelled);
        execute format('select count(*) from (' || stays || ' limit $4 + 1) as k', schema, number)
        into kept using completed, failed, cancelled, keep_most;
        continue when kept > keep_most;
        execute format('lock table %1$I.tasks_%2$s, %1$I.outcomes_%2$s in share row exclusive mode', schema, number);
        execute format('alter table %1$I.tasks detach partition %1$I.tasks_%2$s', schema, number);
        execute format('alter table %1$I.outcomes detach partition %1$I.outcomes_%2$s', schema, number);
        execute format('create temporary table kept_ids on commit drop as ' || stays, schema, number)
        using completed, failed, cancelled;
        execute format('insert into %1$I.tasks_default select * from %1$I.tasks_%2$s where id in (select id from pg_temp.kept_ids)', schema, number);
        execute format('insert into %1$I.outcomes_default select * from %1$I.outcomes_%2$s where task_id in (select id from pg_temp.kept_ids)', schema, number);
        perform perdure.forget_range(number);
        execute format('drop table %1$I.tasks_%2$s, %1$I.outcomes_%2$s, pg_temp.kept_ids', schema, number);
        return number;
    end loop;
    return null;
end $$;
