-- Once the transaction commits, and not before: a number that is taken is then taken for good, and no open
-- transaction keeps it from others.
create constraint trigger look after insert on perdure.openings
    deferrable initially deferred for each row when (new.at_commit) execute function perdure.look();
