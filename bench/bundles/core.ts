// A client without protobuf-es.

export { connect } from "@ttrpc/ttrpc/core";
