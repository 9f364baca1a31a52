-- Looks at openings that are left over: of at most so many keys, and until so many tasks have been placed. Answers
-- how many of both are done with. Safe when several run at once. A beat runs this, which must not take long: where
-- others commit all the time it gives up soon. What could not be served goes behind all others, as one opening: keys
-- that long transactions hold must not hide the rest.
create function perdure.serve_openings(at_most integer) returns integer
    language plpgsql security definer set search_path = pg_catalog, perdure, pg_temp as $$
declare
    instance_key text;
    ids bigint[];
    looked record;
    served integer := 0;
    placed integer := 0;
    late integer := 0;
begin
    for instance_key in
        select o.key from (
            select f.id, f.key from perdure.openings as f order by f.id limit at_most for update skip locked) as o
        group by o.key order by min(o.id)
    loop
        -- Those that come after this are of tasks that the look may not have seen.
        ids := array(select o.id from perdure.openings as o where o.key = instance_key order by o.id for update skip locked);
        select i.answer, i.placed into looked from perdure.let_in(instance_key, true) as i;
        placed := placed + looked.placed;
        if looked.answer = 'served' then
            delete from perdure.openings where id = any (ids);
            served := served + cardinality(ids);
        else
            delete from perdure.openings where id = any (ids[2:]);
            update perdure.openings set id = default where id = ids[1];
        end if;
        late := late + (looked.answer = 'late')::integer;
        exit when late = 10 or placed >= at_most;
    end loop;
    return served + placed;
end $$;
