-- Removes what ended longer ago than that (in one of these states; null is all), by the rules of retention: what
-- lives, is followed by what lives, or holds a key stays. Answers how many, dry_run (null is yes) how many it would be.
-- At most about 100,000 in one call, which is one transaction: call it until it answers 0.
create function perdure.prune(older_than interval, states text[] default null, dry_run boolean default false)
    returns bigint
    language plpgsql security definer set search_path = pg_catalog, perdure, pg_temp as $$
declare
    done bigint := 0;
    look record;
    after bigint := 0;
begin
    while after is not null and (done < 100000 or dry_run is not false) loop
        select p.pruned, p.next_after into look from perdure.prune_after(older_than, states, dry_run, after, 10000) as p;
        done := done + look.pruned;
        after := look.next_after;
    end loop;
    return done;
end $$;
