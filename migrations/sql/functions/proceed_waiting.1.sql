-- Lets the one task that is suspended with this wait key go on; two or more: ambiguous, nothing
-- changes. None: the signal is kept for keep_for and used up by the first that suspends with the key.
create function perdure.proceed_waiting(
    wait_key text, patch jsonb default null, execution_metadata jsonb default null,
    run_at timestamptz default null, signal_key text default null, keep_for interval default '1 hour'
) returns text
    language plpgsql security definer set search_path = pg_catalog, perdure, pg_temp as $$
#variable_conflict use_column
declare
    signal jsonb := perdure.signal(
        proceed_waiting.patch, proceed_waiting.execution_metadata, proceed_waiting.run_at, proceed_waiting.signal_key);
    found_ids bigint[];
begin
    if (octet_length(proceed_waiting.wait_key) between 1 and 500) is not true then
        perform perdure.refuse('PD004|wait_key must have 1 to 500 bytes|it is the key that the task suspended with');
    elsif (keep_for between interval '0' and interval '1 year') is not true then
        perform perdure.refuse('PD004|keep_for must lie between 0 and a year|0 keeps nothing');
    end if;
    select array_agg(w.task_id order by w.task_id) into found_ids from (
        select task_id from perdure.waiting
        where wait_key = proceed_waiting.wait_key and reason = 'suspended' order by task_id for update
    ) as w join perdure.tasks as t on t.id = w.task_id
    where perdure.sees(t.enqueued_by);
    if cardinality(found_ids) > 1 then
        return 'ambiguous';
    elsif cardinality(found_ids) = 1 then
        return perdure.deliver(found_ids[1], signal);
    elsif keep_for = interval '0' then
        return 'not_found';
    end if;
    if (select count(*) from perdure.mail as m where m.wait_key = proceed_waiting.wait_key) >= 100 then
        perform perdure.refuse('PD004|100 signals are kept for this wait key already|let a task suspend with it first');
    end if;
    insert into perdure.mail (wait_key, kind, body, keep_until)
    values (proceed_waiting.wait_key, 'proceed', signal, clock_timestamp() + keep_for);
    perform pg_notify(perdure.channel() || '_mail', '');
    return 'kept';
end $$;
