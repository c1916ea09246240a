package main

import (
	"context"
	"errors"
	"io"
	"net"
	"runtime/debug"

	"github.com/containerd/ttrpc"
	"google.golang.org/protobuf/proto"
	"ttrpc.test/bench/benchv1"
)

func serve(path string) error {
	server, err := ttrpc.NewServer()
	if err != nil {
		return err
	}
	server.RegisterService(service, &ttrpc.ServiceDesc{
		Methods: map[string]ttrpc.Method{
			"Echo": func(_ context.Context, decode func(any) error) (any, error) {
				var request benchv1.Payload
				if err := decode(&request); err != nil {
					return nil, err
				}
				return &benchv1.Payload{Payload: request.Payload}, nil
			},
			"Create": func(_ context.Context, decode func(any) error) (any, error) {
				var request benchv1.CreateTaskRequest
				return &request, decode(&request)
			},
		},
		Streams: map[string]ttrpc.Stream{
			"Produce": {Handler: produce, StreamingServer: true},
			"Collect": {Handler: collect, StreamingClient: true},
			"Chat":    {Handler: chat, StreamingClient: true, StreamingServer: true},
		},
	})
	listener, err := net.Listen("unix", path)
	if err != nil {
		return err
	}
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(context.Background(), listener) }()
	go func() {
		failed <- obey(func(string) error {
			debug.FreeOSMemory()
			say(struct{}{})
			return nil
		})
	}()
	return <-failed
}

func produce(_ context.Context, stream ttrpc.StreamServer) (any, error) {
	var request benchv1.ProduceRequest
	if err := stream.RecvMsg(&request); err != nil {
		return nil, err
	}
	payload := make([]byte, request.Bytes)
	for range request.Count {
		if err := stream.SendMsg(&benchv1.Payload{Payload: payload}); err != nil {
			return nil, err
		}
	}
	return nil, nil
}

func collect(_ context.Context, stream ttrpc.StreamServer) (any, error) {
	var count uint32
	err := each(stream, func(*benchv1.Payload) error {
		count++
		return nil
	})
	return &benchv1.Collected{Count: count}, err
}

func chat(_ context.Context, stream ttrpc.StreamServer) (any, error) {
	return nil, each(stream, func(message *benchv1.Payload) error {
		return stream.SendMsg(&benchv1.Payload{Payload: message.Payload})
	})
}

// each receives messages until there are no more.
func each[Message any, Pointer interface {
	*Message
	proto.Message
}](stream interface{ RecvMsg(any) error }, received func(Pointer) error) error {
	for {
		message := Pointer(new(Message))
		if err := stream.RecvMsg(message); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		if err := received(message); err != nil {
			return err
		}
	}
}
