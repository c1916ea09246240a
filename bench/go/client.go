package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"

	"github.com/containerd/ttrpc"
	"ttrpc.test/bench/benchv1"
)

var background = context.Background()

// client is the client side: what it was told, and its connections.
type client struct {
	*plan
	path        string
	payload     []byte
	message     *benchv1.CreateTaskRequest
	connections []*ttrpc.Client
}

func call(path string, p *plan) error {
	message, err := p.message()
	if err != nil {
		return err
	}
	c := &client{plan: p, path: path, payload: make([]byte, p.Bytes), message: message}
	if err := c.connect(p.Connections); err != nil {
		return err
	}
	return obey(c.obey)
}

func (c *client) obey(line string) error {
	verb, text, _ := strings.Cut(line, " ")
	count, _ := strconv.Atoi(text)
	switch verb {
	case "load":
		return c.load()
	case "calls":
		return c.count(int64(count))
	case "connect":
		if err := c.connect(count); err != nil {
			return err
		}
	case "streams":
		for range count {
			if _, err := c.stream(c.connections[0], "Chat", true, true, nil); err != nil {
				return err
			}
		}
		if err := c.call(c.connections[0], func(int64) {}); err != nil {
			return err
		}
	case "touch":
		for _, connection := range c.connections {
			if err := c.call(connection, func(int64) {}); err != nil {
				return err
			}
		}
	default:
		return fmt.Errorf("there is no command %q", line)
	}
	say(struct{}{})
	return nil
}

func (c *client) connect(count int) error {
	for range count {
		conn, err := net.Dial("unix", c.path)
		if err != nil {
			return err
		}
		c.connections = append(c.connections, ttrpc.NewClient(conn))
	}
	return nil
}

// call makes a unary call, or runs a stream, and says how many messages were completed, and when.
func (c *client) call(on *ttrpc.Client, completed func(int64)) error {
	switch c.Kind {
	case "unary":
		if err := c.unary(on); err != nil {
			return err
		}
		completed(1)
		return nil
	case "server_stream":
		request := &benchv1.ProduceRequest{Count: uint32(c.PerStream), Bytes: uint32(c.Bytes)}
		stream, err := c.stream(on, "Produce", false, true, request)
		if err != nil {
			return err
		}
		return each(stream, func(*benchv1.Payload) error {
			completed(1)
			return nil
		})
	case "client_stream":
		stream, err := c.stream(on, "Collect", true, false, nil)
		if err != nil {
			return err
		}
		if err := c.send(stream); err != nil {
			return err
		}
		var response benchv1.Collected
		if err := stream.RecvMsg(&response); err != nil {
			return err
		}
		if int(response.Count) != c.PerStream {
			return fmt.Errorf("%d messages came instead of %d", response.Count, c.PerStream)
		}
		completed(int64(response.Count))
		return nil
	case "bidi_stream":
		stream, err := c.stream(on, "Chat", true, true, nil)
		if err != nil {
			return err
		}
		sent := make(chan error, 1)
		go func() { sent <- c.send(stream) }()
		err = each(stream, func(message *benchv1.Payload) error {
			completed(1)
			return c.check(message)
		})
		return errors.Join(err, <-sent)
	}
	return fmt.Errorf("there is no kind %q", c.Kind)
}

func (c *client) unary(on *ttrpc.Client) error {
	if c.Realistic {
		var response benchv1.CreateTaskRequest
		if err := on.Call(background, service, "Create", c.message, &response); err != nil {
			return err
		}
		if response.Id != c.message.Id {
			return fmt.Errorf("a message with the id %q came back", response.Id)
		}
		return nil
	}
	var response benchv1.Payload
	request := &benchv1.Payload{Payload: c.payload}
	if err := on.Call(background, service, "Echo", request, &response); err != nil {
		return err
	}
	return c.check(&response)
}

func (c *client) check(message *benchv1.Payload) error {
	if len(message.Payload) != c.Bytes {
		return fmt.Errorf("%d bytes came back instead of %d", len(message.Payload), c.Bytes)
	}
	return nil
}

// A nil request has to be untyped: NewStream sends any other.
func (c *client) stream(
	on *ttrpc.Client, method string, client, server bool, request any,
) (ttrpc.ClientStream, error) {
	description := &ttrpc.StreamDesc{StreamingClient: client, StreamingServer: server}
	return on.NewStream(background, description, service, method, request)
}

func (c *client) send(stream ttrpc.ClientStream) error {
	for range c.PerStream {
		if err := stream.SendMsg(&benchv1.Payload{Payload: c.payload}); err != nil {
			return err
		}
	}
	return stream.CloseSend()
}
