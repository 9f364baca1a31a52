-- Gives one checked signal to a task: changes it in place if it is suspended or still in the pass
-- that an earlier proceed began, else keeps it as mail. Answers as proceed does. accepted: it has
-- been kept as mail before, so nobody is there any more who could be told that it is refused.
create function perdure.deliver(task bigint, signal jsonb, accepted boolean default false) returns text
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
    if not accepted and signal ? 'signal_key' and (
        exists (select from perdure.progress where task_id = task and signal_keys @> array[signal ->> 'signal_key'])
        or exists (select from perdure.mail where task_id = task and body ->> 'signal_key' = signal ->> 'signal_key')) then
        return 'repeated';
    end if;
    if (place = 'waiting' and now_waits in ('suspended', 'proceeded')
            or place = 'ready' and now_ready = 'proceeded') is not true then
        if not accepted and (select count(*) from perdure.mail where task_id = task and kind = 'proceed') >= 100 then
            perform perdure.refuse('PD004|100 signals are kept for this task already|let it suspend and use them up first');
        end if;
        insert into perdure.mail (task_id, kind, body) values (task, 'proceed', signal);
        perform pg_notify(perdure.channel() || '_mail', '');
        return 'kept';
    end if;
    perform perdure.apply_signal(task, signal);
    if not accepted and (select octet_length(execution_metadata::text) > perdure.setting('checkpoint_bytes')
        from perdure.progress where task_id = task) then
        perform perdure.refuse('PD002|the execution metadata would be larger than ' || perdure.setting('checkpoint_bytes')
            || ' bytes|store it elsewhere, or raise limits.checkpoint_bytes');
    end if;
    perform perdure.take_out(task, place);
    perform perdure.place(array[task], 'proceeded', due);
    return case when due > clock_timestamp() then 'scheduled' else 'proceeded' end;
end $$;
