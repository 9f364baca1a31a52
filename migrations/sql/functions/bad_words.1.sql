-- Whether a list of tags or constraints breaks its limits: too many, empty, too long, control characters,
-- lists in a list.
create function perdure.bad_words(words text[], most integer) returns boolean
    language sql immutable set search_path = pg_catalog, perdure, pg_temp as $$
    select cardinality(words) > most or array_ndims(words) > 1 or exists (
        select from unnest(words) as word
        where word is null or char_length(word) not between 1 and 128 or word ~ '[[:cntrl:]]')
$$;
