-- Looks at so many ended tasks after an id, and removes those that ended in one of these states longer ago than
-- that, if nobody needs them; dry_run only counts. Answers how many, and where the next look begins, null after
-- the last: a look is short however little there is to remove, and so is what it locks.
create function perdure.prune_after(
    older_than interval, states text[], dry_run boolean, after bigint, at_most integer
) returns table (pruned bigint, next_after bigint)
    language plpgsql security definer set search_path = pg_catalog, perdure, pg_temp as $$
declare
    old bigint[];
    seen bigint;
begin
    if (older_than >= interval '0') is not true then
        perform perdure.refuse('PD004|older_than must be a length of time that is not negative|as interval ''30 days''');
    elsif not coalesce(states, '{}') <@ '{completed,failed,cancelled}' then
        perform perdure.refuse('PD004|states must be completed, failed or cancelled|nothing else can be removed; null is all of them');
    end if;
    select array_agg(x.task_id order by x.task_id) filter (
            where x.finished_at < (select clock_timestamp()) - older_than and (states is null or x.state = any (states))
                and not perdure.still_needed(x.task_id, x.finished_at)),
        max(x.task_id), count(*)
    into old, next_after, seen
    from (
        select o.task_id, o.state, o.finished_at from perdure.outcomes as o
        where o.task_id > after order by o.task_id limit at_most) as x;
    next_after := case when seen = at_most then next_after end;
    pruned := case when dry_run is not false then coalesce(cardinality(old), 0) else perdure.remove_ended(old) end;
    if dry_run is false and pruned > 0 then
        insert into perdure.audit (action, details) values ('prune', jsonb_strip_nulls(jsonb_build_object(
            'older_than', older_than, 'states', states, 'pruned', pruned)));
    end if;
    return next;
end $$;
