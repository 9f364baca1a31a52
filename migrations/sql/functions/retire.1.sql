-- Removes what ended longer ago than its state's limit, counted from the end, with all that belongs to
-- it, at most so many at a time; what a live task still follows stays. Only in the default partition,
-- where dropped ranges have left what had to stay longer: everywhere else whole ranges are dropped.
create function perdure.retire(completed interval, failed interval, cancelled interval, at_most integer) returns integer
    language plpgsql security definer set search_path = pg_catalog, perdure, pg_temp as $$
declare
    gone bigint[];
    locked text[];
begin
    gone := array(
        select o.task_id from perdure.outcomes_default as o
        where o.finished_at < (select clock_timestamp())
                - case o.state when 'completed' then completed when 'failed' then failed else cancelled end
            and not exists (select from perdure.edges as e where e.after_id = o.task_id)
        order by o.task_id limit at_most for update skip locked);
    -- Whoever has locked a key, as retry, may want the outcome next: what is named by such a key stays.
    locked := array(
        select k.key from perdure.unique_keys as k
        where k.key = any (array(select t.unique_key from perdure.tasks as t where t.id = any (gone)))
        order by k.key for update skip locked);
    gone := array(
        select i from unnest(gone) as i where not exists (
            select from perdure.tasks as t join perdure.unique_keys as k on k.key = t.unique_key
            where t.id = i and k.key <> all (locked)));
    delete from perdure.outcomes where task_id = any (gone);
    delete from perdure.attempts where task_id = any (gone);
    delete from perdure.progress where task_id = any (gone);
    delete from perdure.mail where task_id = any (gone);
    delete from perdure.audit where task_id = any (gone);
    delete from perdure.unique_keys as k using perdure.tasks as t
    where t.id = any (gone) and k.key = t.unique_key and k.task_id = t.id;
    delete from perdure.tasks where id = any (gone);
    return cardinality(gone);
end $$;
