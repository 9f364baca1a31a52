-- Removes what ended longer ago than its state's limit, or its name's, counted from the end, at most so many at a time.
-- Only in the default partition, where dropped ranges have left what had to stay longer: everywhere else
-- whole ranges are dropped.
create function perdure.retire(completed interval, failed interval, cancelled interval, at_most integer) returns integer
    language plpgsql security definer set search_path = pg_catalog, perdure, pg_temp as $$
declare
    named boolean := exists (select from perdure.task_types as y where y.keep_results is not null);
begin
    return perdure.remove_ended(array(
        select o.task_id from perdure.outcomes_default as o
        where o.finished_at < (select clock_timestamp())
                - coalesce(case when named then (
                    select y.keep_results from perdure.tasks as t join perdure.task_types as y on y.name = t.name
                    where t.id = o.task_id) end,
                    case o.state when 'completed' then completed when 'failed' then failed else cancelled end)
            and not perdure.still_needed(o.task_id, o.finished_at)
        order by o.task_id limit at_most));
end $$;
