@0x9fb2a6c3d1e84507;
# What a connector and an edge say to each other, written down from the wire of cloudflared 2026.8.2.
#
# On the wire only the interface ids, the method numbers and the layout of the structs matter; names and
# struct ids are this project's own. Parameters and results are declared as structs of their own because
# prx reads and writes them as plain messages, without an event loop of Cap'n Proto's.

interface RegistrationServer @0xf71695ec7fe85497 {
  # The edge's side of the control stream.
  registerConnection @0 RegisterParams -> RegisterResults;
  unregisterConnection @1 Nothing -> Nothing;
  updateLocalConfiguration @2 LocalConfigurationParams -> Nothing;
}

interface ConfigurationManager @0xb48edfbdaa25db04 {
  # The connector's side of a configuration stream (QUIC).
  updateConfiguration @0 UpdateConfigurationParams -> UpdateConfigurationResults;
}

struct Nothing {}

struct RegisterParams {
  auth @0 :TunnelAuth;
  tunnelId @1 :Data;            # 16 raw bytes of a UUID
  connIndex @2 :UInt8;
  options @3 :ConnectionOptions;
}

struct TunnelAuth {
  accountTag @0 :Text;
  tunnelSecret @1 :Data;
}

struct ConnectionOptions {
  client @0 :ClientInfo;
  originLocalIp @1 :Data;       # 4 or 16 bytes
  replaceExisting @2 :Bool;
  compressionQuality @3 :UInt8;
  numPreviousAttempts @4 :UInt8;
}

struct ClientInfo {
  clientId @0 :Data;            # 16 raw bytes of a UUID: the connector's own
  features @1 :List(Text);
  version @2 :Text;
  arch @3 :Text;
}

struct RegisterResults {
  result @0 :ConnectionResponse;
}

struct ConnectionResponse {
  result :union {
    error @0 :ConnectionError;
    connectionDetails @1 :ConnectionDetails;
  }
}

struct ConnectionError {
  cause @0 :Text;
  retryAfter @1 :Int64;         # nanoseconds
  shouldRetry @2 :Bool;
}

struct ConnectionDetails {
  uuid @0 :Data;
  locationName @1 :Text;
  tunnelIsRemotelyManaged @2 :Bool;
}

struct LocalConfigurationParams {
  config @0 :Data;              # JSON
}

struct UpdateConfigurationParams {
  version @0 :Int32;
  config @1 :Data;              # JSON
}

struct UpdateConfigurationResults {
  result @0 :UpdateConfigurationResponse;
}

struct UpdateConfigurationResponse {
  latestAppliedVersion @0 :Int32;
  err @1 :Text;
}

# The head of a QUIC data stream, in both directions. On the wire every Data of this part is a Text, which is the
# same with a zero byte at its end; prx reads and writes that byte itself, so that bytes outside UTF-8 pass.

enum ConnectionType {
  http @0;
  websocket @1;
  tcp @2;
}

struct Metadata {
  key @0 :Data;
  val @1 :Data;
}

struct ConnectRequest {
  dest @0 :Data;
  type @1 :ConnectionType;
  metadata @2 :List(Metadata);
}

struct ConnectResponse {
  error @0 :Data;
  metadata @1 :List(Metadata);
}
