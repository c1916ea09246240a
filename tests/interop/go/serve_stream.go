//go:build !ttrpc1.1

package main

import (
	"context"
	"errors"
	"io"

	"github.com/containerd/ttrpc"
	"google.golang.org/grpc/codes"
	grpcstatus "google.golang.org/grpc/status"
)

func register(server *ttrpc.Server, schema *schema) {
	service := &tests{schema}
	server.RegisterService(testService, &ttrpc.ServiceDesc{
		Methods: service.unary(),
		Streams: map[string]ttrpc.Stream{
			"Count": {Handler: service.count, StreamingServer: true},
			"Sum":   {Handler: service.sum, StreamingClient: true},
			"Chat":  {Handler: service.chat, StreamingClient: true, StreamingServer: true},
		},
	})
	registerGreeter(server, schema)
	registerStreaming(server)
}

func (t *tests) count(_ context.Context, stream ttrpc.StreamServer) (any, error) {
	request := t.schema.test("CountRequest")
	if err := stream.RecvMsg(request); err != nil {
		return nil, err
	}
	for i := int64(0); i < int64(request.uint("count")); i++ {
		if err := stream.SendMsg(t.schema.test("CountResponse").set("value", i)); err != nil {
			return nil, err
		}
	}
	return nil, nil
}

func (t *tests) sum(_ context.Context, stream ttrpc.StreamServer) (any, error) {
	var sum int64
	for {
		request := t.schema.test("CountResponse")
		if err := stream.RecvMsg(request); errors.Is(err, io.EOF) {
			return t.schema.test("CountResponse").set("value", sum), nil
		} else if err != nil {
			return nil, err
		}
		sum += request.int("value")
	}
}

func (t *tests) chat(ctx context.Context, stream ttrpc.StreamServer) (any, error) {
	for {
		request := t.schema.test("EchoRequest")
		if err := stream.RecvMsg(request); errors.Is(err, io.EOF) {
			return nil, nil
		} else if err != nil {
			return nil, err
		}
		if request.text("text") == "fail" {
			return nil, grpcstatus.Error(codes.FailedPrecondition, "asked to fail")
		}
		reply, err := t.echo(ctx, request)
		if err != nil {
			return nil, err
		}
		if err := stream.SendMsg(reply); err != nil {
			return nil, err
		}
	}
}
