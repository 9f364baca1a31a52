-- Has the mark of each of these schedules, whose rows the caller has locked, go on to its oldest task that lives, by
-- at most 10,000 tasks in all: a key that was deleted and put again may have made millions. Answers those that are
-- not there yet, which are to be looked at again, and those of which none lives; where overlap is allowed nobody asks.
create function perdure.seek_live(keys text[], out far text[], out idle text[])
    language plpgsql set search_path = pg_catalog, perdure, pg_temp as $$
declare
    way bigint := 10000;
    mark record;
    step record;
begin
    far := '{}';
    idle := '{}';
    for mark in
        select s.key, s.oldest_live from perdure.schedules as s
        where s.key = any (keys) and s.overlap <> 'allow' order by s.key
    loop
        select f.live, f.looked, f.beyond into step from perdure.first_live(mark.key, mark.oldest_live, greatest(way, 1)) as f;
        way := way - step.looked;
        if step.beyond is not null then
            update perdure.schedules as s set oldest_live = step.beyond where s.key = mark.key;
            far := far || mark.key;
        elsif step.live is null then
            idle := idle || mark.key;
        end if;
    end loop;
end $$;
