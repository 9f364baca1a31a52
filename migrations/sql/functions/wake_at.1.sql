-- Tells the beats of a task that is due at a time of which none of them knows. NOTIFY is gated, as ever:
-- nothing is sent where a worker looks in time anyway, or wakes for another task that is due before. What
-- is about to be looked at now does not count: this transaction may be seen only after that look.
create function perdure.wake_at(due timestamptz) returns void
    language plpgsql set search_path = pg_catalog, perdure, pg_temp set enable_seqscan = off as $$
declare
    soon timestamptz := clock_timestamp() + interval '50 milliseconds';
begin
    if exists (select from perdure.workers)
        and not exists (select from perdure.workers as w where w.looks_at >= soon and w.looks_at <= due)
        and not exists (
            select from perdure.waiting as w where w.due_at >= soon and w.due_at < due and w.blockers = 0)
    then
        perform pg_notify(perdure.channel() || '_mail', '');
    end if;
end $$;
