-- Obeys the mail of tasks in no lease: what finish_plain left, what passed a suspension uncommitted,
-- a cancel whose worker died, a follower that came before the run. Answers how many letters it has dealt with. Each letter is locked, so
-- that two turns at once do not obey it twice; those of running tasks stay. A beat runs this: what
-- an open transaction stands in the way of is left for a later turn. A letter costs 1.6 ms (a cancel) to 4.7 ms (one
-- whose task has ended or ends, with a follower) of the server's CPU: 200 a turn keep a beat below a second.
create function perdure.obey(at_most integer) returns integer
    language plpgsql security definer set search_path = pg_catalog, perdure, pg_temp
    set lock_timeout = '50ms' as $$
declare
    letter record;
    place text;
    target bigint;
    woken jsonb := '{}';
    dealt integer := 0;
    waited integer := 0;
begin
    delete from perdure.mail where id in (
        select m.id from perdure.mail as m where m.keep_until < (select clock_timestamp()) for update skip locked);
    for letter in
        select m.id, m.task_id, m.wait_key, m.kind, m.body, m.posted_at, m.posted_by from perdure.mail as m
        where m.task_id is null and exists (
                select from perdure.waiting as w join perdure.tasks as t on t.id = w.task_id
                where w.wait_key = m.wait_key and w.reason = 'suspended' and perdure.sees(t.enqueued_by, m.posted_by))
            or m.task_id is not null
                and (m.kind in ('cancel', 'replaced')
                    -- The first is obeyed for all.
                    or m.kind = 'follower' and not exists (
                        select from perdure.mail as b
                        where b.task_id = m.task_id and b.kind = 'follower' and b.id < m.id)
                    or m.kind = 'proceed'
                        and exists (select from perdure.waiting as w where w.task_id = m.task_id and w.reason = 'suspended')
                    or exists (select from perdure.outcomes as o where o.task_id = m.task_id)
                    or not exists (select from perdure.tasks as t where t.id = m.task_id))
                and m.task_id not in (select unnest(l.task_ids) from perdure.leases as l)
        order by m.id limit at_most for update skip locked
    loop
        -- All signals for one key that have passed one suspension go to it, as settle would have it, but
        -- only to a task that their producer may see.
        target := coalesce(letter.task_id, (
            select t.id from perdure.tasks as t
            where t.id = (woken ->> letter.wait_key)::bigint and perdure.sees(t.enqueued_by, letter.posted_by)), (
            select w.task_id from perdure.waiting as w join perdure.tasks as t on t.id = w.task_id
            where w.wait_key = letter.wait_key and w.reason = 'suspended' and perdure.sees(t.enqueued_by, letter.posted_by)
            order by w.task_id limit 1));
        continue when target is null or not exists (select from perdure.mail as m where m.id = letter.id);
        begin
            place := perdure.locate(target);
            continue when place = 'lease';
            if place = 'ended' or place is null then
                update perdure.outcomes as o set cancel_requested_at = m.posted_at
                from perdure.mail as m
                where o.task_id = target and o.cancel_requested_at is null
                    and m.id = letter.id and m.kind in ('cancel', 'replaced');
                perform perdure.forget_mail(target);
                perform perdure.unblock(target);
            elsif letter.kind in ('cancel', 'replaced') then
                perform perdure.take_out(target, place);
                perform perdure.finish_unrun(target, 'cancelled',
                    case letter.kind when 'cancel' then 'requested' else 'replaced' end);
            elsif letter.kind = 'proceed' then
                delete from perdure.mail where id = letter.id;
                perform perdure.deliver(target, letter.body, letter.posted_at, letter.posted_by);
                woken := woken || jsonb_build_object(coalesce(letter.wait_key, ''), target);
            else
                -- It is known from now on: who takes it sees the mark. Its row is made anew, as a claim that
                -- looked before this commit must not take it.
                insert into perdure.progress as p (task_id, marks) values (target, 8)
                on conflict (task_id) do update set marks = p.marks | 8 where p.marks & 8 = 0;
                if place = 'ready' then
                    perform perdure.take_out(target, place);
                    perform perdure.place(array[target]);
                end if;
                delete from perdure.mail as m where m.task_id = target and m.kind = 'follower';
            end if;
            dealt := dealt + 1;
        exception when lock_not_available then
            waited := waited + 1;
            exit when waited = 10;
        end;
    end loop;
    return dealt;
end $$;
