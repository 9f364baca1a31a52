-- Where a name keeps its tasks for a time of its own, whole ranges are too coarse: looks at so many ended tasks after
-- the last look, and removes those whose own time is over; also those that a range which waits for the names that
-- stay longer has not let go for two days. Answers how many went, and whether there are more to look at.
create function perdure.retire_by_name(completed interval, failed interval, cancelled interval, at_most integer)
    returns table (gone integer, more boolean)
    language plpgsql security definer set search_path = pg_catalog, perdure, pg_temp as $$
declare
    old bigint[];
    seen bigint;
    after bigint;
begin
    gone := 0;
    more := false;
    if not exists (select from perdure.task_types as y where y.keep_results is not null) then
        return next;
        return;
    end if;
    after := (select (s.value #>> '{}')::bigint from perdure.settings as s where s.key = 'retired_to');
    select array_agg(x.task_id) filter (
            where x.finished_at < (select clock_timestamp()) - coalesce(y.keep_results, interval '2 days' + case x.state
                    when 'completed' then completed when 'failed' then failed else cancelled end)
                and not perdure.still_needed(x.task_id, x.finished_at)),
        count(*), max(x.task_id)
    into old, seen, after
    from (
        select o.task_id, o.state, o.finished_at from perdure.outcomes as o
        where o.task_id > coalesce(after, 0) order by o.task_id limit at_most) as x
    join perdure.tasks as t on t.id = x.task_id
    left join perdure.task_types as y on y.name = t.name and y.keep_results is not null;
    more := seen = at_most;
    gone := perdure.remove_ended(old);
    insert into perdure.settings (key, value) values ('retired_to', to_jsonb(case when more then after else 0 end))
    on conflict (key) do update set value = excluded.value;
    return next;
end $$;
