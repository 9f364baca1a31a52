do $grants$ begin end $grants$;
