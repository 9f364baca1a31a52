-- Gives one checked signal to a task: changes it in place if it is suspended or still in the pass
-- that an earlier proceed began, else keeps it as mail. Answers as proceed does. posted_at, posted_by: it
-- has been kept as mail before, so nobody is there any more who could be told that it is refused.
create function perdure.deliver(
    task bigint, signal jsonb, posted_at timestamptz default null, posted_by text default session_user
) returns text
    language plpgsql set search_path = pg_catalog, perdure, pg_temp as $$
declare
    place text := perdure.locate(task);
    now_waits text := (select reason from perdure.waiting where task_id = task);
    now_ready text := (select reason from perdure.progress where task_id = task);
    due timestamptz := signal ->> 'run_at';
begin
    if place is null then
        return 'not_found';
    elsif place = 'ended' then
        return 'ended';
    end if;
    if posted_at is null and signal ? 'signal_key' and (
        exists (select from perdure.progress where task_id = task and signal_keys @> array[signal ->> 'signal_key'])
        or exists (select from perdure.mail where task_id = task and body ->> 'signal_key' = signal ->> 'signal_key')) then
        return 'repeated';
    end if;
    if (place = 'waiting' and now_waits in ('suspended', 'proceeded')
            or place = 'ready' and now_ready = 'proceeded') is not true then
        if posted_at is null and (select count(*) from perdure.mail where task_id = task and kind = 'proceed') >= 100 then
            perform perdure.refuse('PD004|100 signals are kept for this task already|let it suspend and use them up first');
        end if;
        insert into perdure.mail (task_id, kind, body, posted_at, posted_by)
        values (task, 'proceed', signal, coalesce(posted_at, clock_timestamp()), posted_by);
        perform pg_notify(perdure.channel() || '_mail', '');
        return 'kept';
    end if;
    insert into perdure.audit (actor, action, task_id, details)
    values (posted_by, 'proceed', task, perdure.apply_signal(task, signal, posted_at));
    perform perdure.take_out(task, place);
    perform perdure.place(array[task], 'proceeded', due);
    return case when due > clock_timestamp() then 'scheduled' else 'proceeded' end;
end $$;
