# A web server, and a client that asks it.
{
  name = "two-machines";
  nodes.server = {
    services.nginx.enable = true;
    networking.firewall.allowedTCPPorts = [ 80 ];
  };
  nodes.client = { };
  testScript = ''
    start_all()
    server.wait_for_unit("nginx.service")
    client.succeed("curl --fail http://server/")
  '';
}
