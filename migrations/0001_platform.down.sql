-- Takes the helpers away, and the schema `auth` only when 0001 made it. Roles belong to the cluster and stay.

drop function private.touch_updated_at();
drop function private.uuid7();
drop schema private;

do $$
begin
  if pg_catalog.obj_description(to_regnamespace('auth'), 'pg_namespace') = 'mobvibe-shim' then
    drop function auth.jwt();
    drop function auth.email();
    drop function auth.role();
    drop function auth.uid();
    drop table auth.users;
    drop schema auth;
  end if;
end
$$;
