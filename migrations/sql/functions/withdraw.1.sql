-- Cancels a task that is ready or waiting, at once; a leased one gets mail and ends as soon as its
-- run has stopped. Answers cancelled, requested, ended or not_found. leased: it was so when the caller locked
-- others, and is not looked for again: a letter reaches it wherever it is by now.
create function perdure.withdraw(task bigint, why text, leased boolean default false) returns text
    language plpgsql set search_path = pg_catalog, perdure, pg_temp as $$
declare
    place text := case when leased then 'lease' else perdure.locate(task) end;
begin
    if place = 'lease' then
        insert into perdure.mail (task_id, kind)
        select task, case why when 'replaced' then 'replaced' else 'cancel' end
        where not exists (select from perdure.mail where task_id = task and kind in ('cancel', 'replaced'));
        perform pg_notify(perdure.channel() || '_mail', '');
        return 'requested';
    elsif place is null then
        return 'not_found';
    elsif place = 'ended' then
        return 'ended';
    end if;
    perform perdure.take_out(task, place);
    perform perdure.finish_unrun(task, 'cancelled', why);
    return 'cancelled';
end $$;
