-- Looks at the key of an opening at the commit of the transaction that has left it. What can be done is
-- done; an opening of a key that is full stays for the beats: an instance may be coming free just now, from
-- one that did not see who waits. One that reads as of its beginning cannot judge: a beat is asked to.
create function perdure.look() returns trigger
    language plpgsql security definer set search_path = pg_catalog, perdure, pg_temp as $$
declare
    answer text := 'blocked';
begin
    if current_setting('transaction_isolation') = 'read committed' then
        answer := (perdure.let_in(new.key, false)).answer;
    end if;
    if answer = 'served' then
        delete from perdure.openings where id = new.id;
    elsif answer <> 'full' then
        perform pg_notify(perdure.channel() || '_mail', '');
    end if;
    return null;
end $$;
