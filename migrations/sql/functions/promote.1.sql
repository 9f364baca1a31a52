-- Serves alarms, at most 200, as each may end a task that others follow, which takes milliseconds; then moves
-- what is due from waiting to ready, oldest first, at most so many. Answers how many it moved, in how many
-- seconds the next is due (null: nothing waits for a time) and how many alarms it looked at. Safe when several run at once.
-- Sessions keep its plans: none made while the tables were empty may become a scan of full ones, and
-- none may look at all that is due to sort it.
create function perdure.promote(at_most integer) returns table (moved integer, due_in double precision, rung integer)
    language plpgsql security definer set search_path = pg_catalog, perdure, pg_temp
    set enable_seqscan = off set enable_bitmapscan = off set jit = off as $$
declare
    batch record;
begin
    rung := perdure.serve_alarms(least(at_most, 200));
    moved := 0;
    for batch in
        with due as materialized (
            select w.ctid as row_at from perdure.waiting as w
            where w.due_at <= (select clock_timestamp()) and w.blockers = 0
            order by w.due_at limit at_most for update skip locked),
        gone as (delete from perdure.waiting where ctid = any (array(select d.row_at from due as d)) returning task_id, reason)
        select case g.reason when 'suspended' then 'until' when 'delay' then null when 'newer_checkpoint' then null
                else g.reason end as because, array_agg(g.task_id order by g.task_id) as ids
        from gone as g group by 1
    loop
        perform perdure.place(batch.ids, batch.because);
        moved := moved + cardinality(batch.ids);
    end loop;
    due_in := least((
        select extract(epoch from w.due_at - clock_timestamp()) from perdure.waiting as w
        where w.due_at is not null and w.blockers = 0 order by w.due_at limit 1), (
        select extract(epoch from a.at - clock_timestamp()) from perdure.alarms as a order by a.at limit 1));
    return next;
end $$;
